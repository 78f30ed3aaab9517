# The installed tree: library, headers, CMake package, pkg-config file.
include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/apdepth)
install(TARGETS apdepth EXPORT apdepth)
install(FILES include/apdepth.h include/apdepth_metric.h include/apdepth.hpp TYPE INCLUDE)
install(EXPORT apdepth NAMESPACE apdepth:: FILE apdepthTargets.cmake DESTINATION ${package_folder})
configure_package_config_file(cmake/apdepthConfig.cmake.in apdepthConfig.cmake
  INSTALL_DESTINATION ${package_folder})
# Before 1.0 a new minor version may change the API.
write_basic_package_version_file(apdepthConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/apdepthConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/apdepthConfigVersion.cmake DESTINATION ${package_folder})
configure_file(cmake/apdepth.pc.in apdepth.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/apdepth.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
