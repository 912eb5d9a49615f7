# drought_discover_scenarios(PATH… [PREFIX TEXT] [SEED N] [LABELS LABEL…])
#
# Makes a test of each scenario file under the paths, which are relative to the current source folder: as
# `drought run FILE` on the host lane, label "scenario", and of each that runs on the cuda lane another,
# "cuda:FILE", as `drought run FILE --device cuda`, labels "scenario" and "gpu". That one asks CTest for
# one of the machine's "gpus" (RESOURCE_GROUPS), and is listed as skipped where there is none. A failing test
# prints the command that repeats it.
#
# The files are looked for whenever ctest runs: a new one needs no new configuration, and a mistake in one
# is told by file, line and column.
function(drought_discover_scenarios)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "PREFIX;SEED" "LABELS")
  if(NOT arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "drought_discover_scenarios: which files and folders?")
  endif()
  foreach(path IN LISTS arg_UNPARSED_ARGUMENTS)
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${path})
      message(FATAL_ERROR "drought_discover_scenarios: ${path}: there is no such file or folder")
    endif()
  endforeach()
  get_property(count DIRECTORY PROPERTY drought_discovered)
  math(EXPR count "${count} + 0")
  set_property(DIRECTORY PROPERTY drought_discovered 1${count})
  set(stem ${CMAKE_CURRENT_BINARY_DIR}/drought_scenarios${count})
  file(GENERATE OUTPUT ${stem}_$<CONFIG>.cmake CONTENT
"set(drought [==[$<TARGET_FILE:drought::cli>]==])
set(folder [==[${CMAKE_CURRENT_SOURCE_DIR}]==])
set(list_file [==[${stem}.json]==])
set(paths [==[${arg_UNPARSED_ARGUMENTS}]==])
set(prefix [==[${arg_PREFIX}]==])
set(seed [==[${arg_SEED}]==])
set(labels [==[${arg_LABELS}]==])
include([==[${CMAKE_CURRENT_FUNCTION_LIST_DIR}/add_scenarios.cmake]==])
")
  file(WRITE ${stem}_tests.cmake "include(\"${stem}_\${CTEST_CONFIGURATION_TYPE}.cmake\" OPTIONAL)\n")
  get_property(is_multi GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
  if(NOT is_multi)
    file(WRITE ${stem}_tests.cmake "include(\"${stem}_${CMAKE_BUILD_TYPE}.cmake\")\n")
  endif()
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${stem}_tests.cmake)
endfunction()
