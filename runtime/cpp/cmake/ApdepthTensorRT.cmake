# TensorRT or TensorRT for RTX, whichever the headers are of. -DTENSORRT_ROOT names the folder with
# include/ and lib/; without it, the system's folders are searched.
find_package(CUDAToolkit 12.0 REQUIRED)

set(TENSORRT_ROOT "" CACHE PATH "Folder of TensorRT or TensorRT for RTX, with include/ and lib/")
find_path(TENSORRT_INCLUDE_DIR NvInferRuntime.h HINTS ${TENSORRT_ROOT} PATH_SUFFIXES include REQUIRED)
file(STRINGS ${TENSORRT_INCLUDE_DIR}/NvInferVersion.h rtx_lines REGEX "define TRT_MAJOR_RTX")
if(rtx_lines)
  find_library(TENSORRT_LIBRARY tensorrt_rtx HINTS ${TENSORRT_ROOT} PATH_SUFFIXES lib lib64 REQUIRED)
else()
  find_library(TENSORRT_LIBRARY nvinfer HINTS ${TENSORRT_ROOT} PATH_SUFFIXES lib lib64 REQUIRED)
endif()

target_sources(apdepth_objects PRIVATE
  src/tensorrt/cuda.cpp src/tensorrt/engine.cpp src/tensorrt/lane.cpp src/tensorrt/log.cpp
  src/tensorrt/pool.cpp src/tensorrt/runner.cpp
  src/tensorrt/version.cpp)
if(rtx_lines)
  target_sources(apdepth_objects PRIVATE src/tensorrt/rtx.cpp)
endif()
target_compile_definitions(apdepth_objects PRIVATE APDEPTH_WITH_TENSORRT)
target_include_directories(apdepth_objects SYSTEM PRIVATE ${TENSORRT_INCLUDE_DIR})
target_link_libraries(apdepth_objects PUBLIC ${TENSORRT_LIBRARY} CUDA::cudart_static)
