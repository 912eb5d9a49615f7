# What `cmake --install` puts where. The package is relocatable: nothing in it names this machine's folders,
# but for debug information, which the archives therefore lose; function names, which a trigger's `stack`
# asks for, are kept.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/drought)

set_target_properties(drought_core PROPERTIES EXPORT_NAME drought)
set_target_properties(drought_gtest PROPERTIES EXPORT_NAME gtest)
set_target_properties(drought PROPERTIES EXPORT_NAME cli)
install(TARGETS drought_core drought EXPORT drought
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/drought)
install(TARGETS drought_gtest EXPORT drought_gtest ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
set(programs drought)
if(TARGET drought_mpi)  # Which drought looks for beside it.
  list(APPEND programs drought_mpi)
  install(TARGETS drought_mpi RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
list(TRANSFORM programs PREPEND "\${root}/${CMAKE_INSTALL_BINDIR}/")
install(CODE "
  set(root \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
  execute_process(COMMAND \"${CMAKE_STRIP}\" --strip-debug
    \"\${root}/${CMAKE_INSTALL_LIBDIR}/libdrought_core.a\" \"\${root}/${CMAKE_INSTALL_LIBDIR}/libdrought_gtest.a\"
    ${programs} COMMAND_ERROR_IS_FATAL ANY)")

install(DIRECTORY harness allocators kernels faults scenarios
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/drought FILES_MATCHING PATTERN "*.hpp" PATTERN cli EXCLUDE)

install(EXPORT drought NAMESPACE drought:: FILE targets.cmake DESTINATION ${package_dir})
install(EXPORT drought_gtest NAMESPACE drought:: FILE gtest_targets.cmake DESTINATION ${package_dir})
configure_package_config_file(harness/package/config.cmake.in ${CMAKE_BINARY_DIR}/package/drought-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/package/drought-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/package/drought-config.cmake
              ${CMAKE_BINARY_DIR}/package/drought-config-version.cmake harness/package/libbacktrace.cmake
              harness/package/scenarios.cmake harness/package/add_scenarios.cmake
        DESTINATION ${package_dir})
