# The CUDA backend: kernels compiled ahead of time, the runtime linked in.  Like the CPU kernels without fused multiply-add.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90)
endif()
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that this compiler has C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
find_package(CUDAToolkit 12.8 REQUIRED)

file(GLOB cuda_sources CONFIGURE_DEPENDS src/ops/*/*.cu src/families/*/cuda/*.cu)
file(GLOB cuda_host_sources CONFIGURE_DEPENDS src/cuda/*.cc src/families/*/cuda/*.cc)
target_sources(kilter_objects PRIVATE ${cuda_host_sources})
target_compile_definitions(kilter_objects PRIVATE KILTER_ENABLE_CUDA)
target_link_libraries(kilter_objects PRIVATE $<BUILD_INTERFACE:CUDA::cudart_static>)

add_library(kilter_objects_cuda OBJECT ${cuda_sources})
target_include_directories(kilter_objects_cuda PRIVATE include src ${PROJECT_BINARY_DIR}/generated)
# Single flags from outside are undone; the whole of --use_fast_math cannot be.
get_directory_property(options_from_outside COMPILE_OPTIONS)
string(TOUPPER "${CMAKE_BUILD_TYPE}" config)
if("${options_from_outside} ${CMAKE_CUDA_FLAGS} ${CMAKE_CUDA_FLAGS_${config}} $ENV{NVCC_PREPEND_FLAGS} $ENV{NVCC_APPEND_FLAGS}" MATCHES "use_fast_math")
  message(FATAL_ERROR "kilter: --use_fast_math breaks the numeric contract of its kernels: leave it out for kilter (for example with "
                      "add_compile_options behind add_subdirectory)")
endif()
target_compile_options(kilter_objects_cuda PRIVATE -O3 -fmad=false -ftz=false -prec-div=true -prec-sqrt=true --expt-relaxed-constexpr -Xcompiler=-fvisibility=hidden)
set_target_properties(kilter_objects_cuda PROPERTIES POSITION_INDEPENDENT_CODE ON)
if(PROJECT_IS_TOP_LEVEL)  # how long each phase takes, for tests/cuda/kernels.py
  foreach(source IN LISTS cuda_sources)
    cmake_path(GET source STEM name)
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS --time=cuda_times_${name}.csv)
  endforeach()
endif()
