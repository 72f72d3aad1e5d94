#!/usr/bin/env bash
# Uses a GPU machine without a network for ten minutes: README.md beside this file.
#   bash trainers/gpu/day.sh                                  all steps in 9.5 minutes
#   bash trainers/gpu/day.sh --minutes 4 --steps tests bench
#   bash trainers/gpu/day.sh --device cpu --minutes 2         a rehearsal at toy size, without a GPU
# Reads the trips in build/gpu. Writes at most eight files to $OUT, or to build/gpu/out.
set -uo pipefail
began=$(date +%s.%N)
cd "$(dirname "$0")/../.."
kit=build/gpu
python=${PYTHON:-python3}
shopt -s nullglob
wheels=("$kit"/trip*/wheels/*.whl)
if [ ${#wheels[@]} -gt 0 ] && [ "$(cat "$kit/site/.installed" 2>/dev/null)" != "${wheels[*]}" ]; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --disable-pip-version-check \
    --target "$kit/site" "${wheels[@]}" && echo "${wheels[*]}" > "$kit/site/.installed" \
    || echo "some wheels could not be installed: steps that need them will fail" >&2
fi
export PYTHONPATH="$PWD:$PWD/$kit/site${PYTHONPATH:+:$PYTHONPATH}"
export NO_ALBUMENTATIONS_UPDATE=1 PYTHONUNBUFFERED=1
export TORCHINDUCTOR_CACHE_DIR="$PWD/$kit/work/inductor" TRITON_CACHE_DIR="$PWD/$kit/work/triton"
# With NVIDIA's MPS, kernels of several processes run at the same time: eight small trainings took half the time.
if command -v nvidia-cuda-mps-control > /dev/null && [[ " $* " != *" cpu "* && ( $# -eq 0 || " $* " != *" --steps "* || \
    " $* " == *" train "* || " $* " == *" reproduce "* ) ]]; then
  mkdir -p "$kit/work/mps"
  export CUDA_MPS_PIPE_DIRECTORY="$PWD/$kit/work/mps" CUDA_MPS_LOG_DIRECTORY="$PWD/$kit/work/mps"
  nvidia-cuda-mps-control -d
  trap 'echo quit | timeout 10 nvidia-cuda-mps-control > /dev/null' EXIT
  if ! timeout 30 "$python" -c "import torch; torch.ones(1, device='cuda').sum().item()"; then
    echo "MPS does not work here: processes take turns on the card" >&2
    unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
  fi
fi
"$python" -m trainers.gpu.day --began "$began" --out "${OUT:-$kit/out}" "$@"
