# Installing: headers, both libraries, a CMake package and a pkg-config file.  Nothing installed contains an absolute path.
include(CMakePackageConfigHelpers)

add_library(kilter::shared ALIAS kilter_shared)
add_library(kilter::static ALIAS kilter_static)
add_library(kilter::kilter ALIAS kilter_shared)

# A project that has kilter as a folder may export targets that link to it: CMake wants every target that an export names to be
# in an export itself.  So the rules are always made, and without KILTER_INSTALL only `cmake --install . --component kilter` runs them.
set(component COMPONENT kilter)
if(NOT KILTER_INSTALL)
  list(APPEND component EXCLUDE_FROM_ALL)
endif()

install(DIRECTORY include/kilter DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} ${component})
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/kilter)
foreach(kind shared static)
  install(TARGETS kilter_${kind} EXPORT kilter_${kind}
          RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} ${component} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ${component}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} ${component})
  # One file each: a static library needs more from its user, and whoever takes the shared one should not have to have it.
  install(EXPORT kilter_${kind} NAMESPACE kilter:: DESTINATION ${package_dir} FILE kilter-${kind}.cmake ${component})
endforeach()

# What a static library asks of the final link.  The C++ library is named because a C compiler may be the one that links.
set(static_libraries "")
foreach(library stdc++ c++)
  if(library IN_LIST CMAKE_CXX_IMPLICIT_LINK_LIBRARIES)
    list(APPEND static_libraries ${library})
    break()
  endif()
endforeach()
if(OpenMP_CXX_FOUND)
  list(APPEND static_libraries ${OpenMP_CXX_LIB_NAMES})
endif()
list(APPEND static_libraries m)
list(TRANSFORM static_libraries PREPEND "-l")
list(JOIN static_libraries " " KILTER_LIBS_PRIVATE)

# The prefix as seen from the pkg-config file, so that an installation can be moved.
cmake_path(SET pc_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
cmake_path(SET up NORMALIZE "/${pc_dir}")
file(RELATIVE_PATH KILTER_PC_TO_PREFIX "${up}" "/")
configure_file(cmake/kilter.pc.in kilter.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/kilter.pc DESTINATION ${pc_dir} ${component})

configure_package_config_file(cmake/kilter-config.cmake.in kilter-config.cmake INSTALL_DESTINATION ${package_dir}
                              NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(kilter-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/kilter-config.cmake ${PROJECT_BINARY_DIR}/kilter-config-version.cmake DESTINATION ${package_dir} ${component})
