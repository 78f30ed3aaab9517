#!/usr/bin/env bash
# Compile the TensorRT backend against headers that no package has, link it with TensorRT for RTX's
# wheel, and run what runs without a GPU.
#
#   compile_tensorrt.sh INCLUDE [BUILD]
#
# INCLUDE is the include/ of a checkout of NVIDIA/TensorRT, or of TensorRT for RTX. The checkout has
# the declarations that both share: with it the source is compiled in both flavours. What rtx.cpp
# uses only RTX's own headers declare: other builds of the tests run it on fake_nvidia/, by its manual.
# PYTHON names the interpreter that has tensorrt-rtx.
set -euo pipefail
source="$(cd "$(dirname "$0")/.." && pwd)"
include="$(cd "$1" && pwd)"
build="${2:-$source/../../out/cpp-tensorrt}"
python="${PYTHON:-python3}"
cuda="${CUDA_INCLUDE:-/usr/local/cuda/include}"

library="$("$python" -c 'import pathlib, tensorrt_rtx_libs as l; print(next(pathlib.Path(l.__path__[0]).glob("libtensorrt_rtx.so*")))')"
is_rtx=$(grep -c "define TRT_MAJOR_RTX" "$include/NvInferVersion.h" || true)
echo "headers: $include ($([ "$is_rtx" -gt 0 ] && echo "TensorRT for RTX" || echo TensorRT)); library: $library"

rm -rf "$build/root"
mkdir -p "$build/root/lib"
ln -s "$include" "$build/root/include"
# CMake looks for the name that goes with the headers.
ln -s "$library" "$build/root/lib/lib$([ "$is_rtx" -gt 0 ] && echo tensorrt_rtx || echo nvinfer).so"

echo "== compile, link, run"
cmake -S "$source" -B "$build/library" -DAPDEPTH_OPENVINO=OFF -DAPDEPTH_PROGRAMS=OFF \
    -DAPDEPTH_TENSORRT=ON -DTENSORRT_ROOT="$build/root" \
    -DCMAKE_BUILD_RPATH="$(dirname "$library")" >"$build/configure.log" || { cat "$build/configure.log"; exit 1; }
cmake --build "$build/library" --parallel 2
ctest --test-dir "$build/library" --output-on-failure -R "test_(parts|tensorrt)"

if [ "$is_rtx" -gt 0 ]; then
    exit 0
fi
echo "== the other flavour: TRT_MAJOR_RTX, compiled only"
for file in cuda engine lane log pool runner version; do
    c++ -std=c++17 -fsyntax-only -Wall -Wextra -Werror -DTRT_MAJOR_RTX=1 -I"$source/include" \
        -I"$source/src" -isystem "$include" -isystem "$cuda" "$source/src/tensorrt/$file.cpp"
    echo "compiled: $file.cpp"
done
