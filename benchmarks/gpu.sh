#!/usr/bin/env bash
# Everything that wants a GPU, within 8 minutes on one H100-class card: the tests marked cuda, pretraining's tokens per second
# and share of the bf16 peak, fine-tuning and answering beside TRL and transformers where they are installed, memory.
#
#   bash benchmarks/gpu.sh                          # the figures go to $OUT, or to ./gpu
#   bash benchmarks/gpu.sh --device cpu --steps 2   # that the script works, at tiny shapes
set -u
device=cuda steps=20
while [ $# -gt 0 ]; do
    case $1 in
        --device) device=$2 ;;
        --steps) steps=$2 ;;
        *) echo "error: $1 is no option: --device cuda|cpu, --steps N" >&2; exit 2 ;;
    esac
    shift 2
done
cd "$(dirname "$0")/.." || exit 1
out=${OUT:-gpu} python=${PYTHON:-python} failed=0
mkdir -p "$out"
slack=1 tiny=() shape=() asked=(--prompts 110 --new-tokens 64)
if [ "$device" = cpu ]; then
    export EQUILOSS_TEST_DEVICE=cpu
    slack=10
    tiny=(--shapes tiny --contenders equiloss nanogpt --precisions bf16) shape=(--shape tiny) asked=(--prompts 16 --new-tokens 4)
fi

part() { # NAME SECONDS COMMAND...: what it prints goes to a file too; a failure is said, and the next part runs
    echo "== $1"
    timeout $(($2 * slack)) "${@:3}" 2>&1 | tee "$out/$1.log"
    [ "${PIPESTATUS[0]}" = 0 ] || { echo "== $1 failed"; failed=1; }
}

part card 20 "$python" -c "import torch; print(torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU')"
if "$python" -c "import pytest, pytest_timeout" 2>/dev/null; then
    part tests 150 "$python" -m pytest -q -m cuda tests/pretrain/training/test_cuda.py
fi
part pretrain 170 "$python" benchmarks/pretrain.py --device "$device" --steps "$steps" --rounds 1 --json "$out/pretrain.json" "${tiny[@]}"
part ift 130 "$python" benchmarks/ift.py --base-kind llama --device "$device" --steps "$steps" --rounds 1 --precisions bf16 \
    --json "$out/ift.json" "${shape[@]}" "${asked[@]}"
exit $failed
