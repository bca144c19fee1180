#!/bin/sh
# Makes sure that some Python has PyTorch, for one arm of the comparison. If none has, it installs
# PyTorch through pip into benches/peers/target/python. Without it the comparison runs all the same,
# and says that PyTorch was not measured.
set -u
cd "$(dirname "$0")" || exit 1

has_torch() { "$1" -c 'import torch, numpy' >/dev/null 2>&1; }

for python in ${PEERS_PYTHON:+"$PEERS_PYTHON"} target/python/bin/python python3; do
    if has_torch "$python"; then exit 0; fi
done

echo "peers: no Python here has PyTorch and NumPy. Installing them through pip into" >&2
echo "peers: benches/peers/target/python; where pip's package is the one for CUDA, that is several GB." >&2
mkdir -p target
if python3 -m venv target/python && target/python/bin/python -m pip install --quiet torch numpy; then
    has_torch target/python/bin/python && exit 0
fi
echo "peers: PyTorch could not be installed, so it will not be measured. Set PEERS_PYTHON to a Python that has it." >&2
exit 0
