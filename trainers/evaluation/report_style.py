"""How a run's page looks: in the reader's light or dark, and on paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #6a737d; --line: #d8dee4; --warn: #9a5b00;
  --c0: #0072b2; --c1: #c44e00; --c2: #00795c; --c3: #a8417f; --c4: #5d5fc4; --c5: #7a6a00; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171a; --faint: #9aa4ae;
  --line: #343b42; --warn: #f0b450; --c0: #56b4e9; --c1: #ff9a52; --c2: #3ddbb0; --c3: #e79ac8;
  --c4: #a5a7ff; --c5: #e0cf5a; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .6rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0 1.2rem; }
caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
th, td { padding: .22rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th[scope=row], .facts td { text-align: left; }
th { font-weight: 600; }
td small { display: block; color: var(--faint); font-size: .74rem; white-space: nowrap; }
.facts th { color: var(--faint); font-weight: 400; padding-left: 0; white-space: nowrap; }
.facts td { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.missing { color: var(--faint); font-style: italic; }
.warning { color: var(--warn); font-weight: 600; }
.plot { display: inline-block; width: min(100%, 35rem); margin: 0 1.5rem 1rem 0; vertical-align: top; }
.chart { display: block; width: 100%; height: auto; }
.chart .grid { stroke: var(--line); stroke-width: 1; fill: none; }
.chart text { fill: var(--faint); font-size: 12px; }
.chart .title { fill: var(--ink); font-size: 14px; }
.chart polyline { fill: none; stroke-width: 1.8; }
.chart circle { stroke: none; }
.legend { margin: 0 0 0 3rem; font-size: .85rem; }
.key { margin-right: 1rem; white-space: nowrap; }
.key svg { width: 1.6rem; height: .55rem; margin-right: .35rem; }
.key path { stroke-width: 3; fill: none; }
.s0 { stroke: var(--c0); fill: var(--c0); } .s1 { stroke: var(--c1); fill: var(--c1); }
.s2 { stroke: var(--c2); fill: var(--c2); } .s3 { stroke: var(--c3); fill: var(--c3); }
.s4 { stroke: var(--c4); fill: var(--c4); } .s5 { stroke: var(--c5); fill: var(--c5); }
figure { margin: 0 0 1.4rem; }
figure img { width: 100%; height: auto; border-radius: 4px; }
figcaption { color: var(--faint); }
@media print { :root { color-scheme: light; --ink: #000; --paper: #fff; --faint: #444; --line: #bbb; }
  main { max-width: none; padding: 0; } .plot, figure, tr { break-inside: avoid; } .wide { overflow: visible; }
  body { font-size: 10pt; } th, td { padding: .15rem .35rem; } }
"""
