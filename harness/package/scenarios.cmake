# drought_discover_scenarios(PATH… [TEST_PREFIX TEXT] [TEST_SUFFIX TEXT] [TEST_FILTER GLOB] [TEST_LIST VARIABLE]
#                            [WORKING_DIRECTORY FOLDER] [EXTRA_ARGS WORD…] [PROPERTIES NAME VALUE…])
#
# Makes a test of each scenario file under the paths, which are relative to the current source folder: as
# `drought run FILE` on the host lane, label "scenario", and of each that runs on the cuda lane another,
# "cuda:FILE", as `drought run FILE --device cuda`, labels "scenario" and "gpu". That one asks CTest for
# one of the machine's "gpus" (RESOURCE_GROUPS), and is listed as skipped where there is none. A failing test
# prints the command that repeats it.
#
# The words are those of gtest_discover_tests: EXTRA_ARGS end each command (--seed 7, --watchdog 60), a filter
# is a glob of the file's path, tests run in the source folder unless WORKING_DIRECTORY says where (the folder
# of a library of yours, say), and PROPERTIES are each test's; of those, LABELS come in addition, and
# RESOURCE_GROUPS are for the GPU tests alone.
#
# CTest shares GPUs out when it is told which there are, and else starts as many tests on one as -j says:
#   gpus.json   {"version": {"major": 1, "minor": 0}, "local": [{"gpus": [{"id": "0"}, {"id": "1"}]}]}
#   ctest -j 8 --resource-spec-file gpus.json
#
# The files are looked for whenever ctest runs: a new one needs no new configuration, and a mistake in one
# is told by file, line and column.
function(drought_discover_scenarios)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "TEST_PREFIX;TEST_SUFFIX;TEST_FILTER;TEST_LIST;WORKING_DIRECTORY"
                        "EXTRA_ARGS;PROPERTIES")
  if(NOT arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "drought_discover_scenarios: which files and folders?")
  endif()
  foreach(path IN LISTS arg_UNPARSED_ARGUMENTS)
    cmake_path(ABSOLUTE_PATH path BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE there)
    if(NOT EXISTS ${there})
      message(FATAL_ERROR "drought_discover_scenarios: ${path}: there is no such file or folder")
    endif()
  endforeach()
  list(LENGTH arg_PROPERTIES length)
  math(EXPR is_odd "${length} % 2")
  if(is_odd)
    message(FATAL_ERROR "drought_discover_scenarios: PROPERTIES takes names and values in pairs")
  endif()
  foreach(default "TEST_FILTER=*" "TEST_LIST=drought_scenario_tests"
          "WORKING_DIRECTORY=${CMAKE_CURRENT_SOURCE_DIR}")
    string(REGEX MATCH "^([A-Z_]+)=(.*)$" _ "${default}")
    if(NOT DEFINED arg_${CMAKE_MATCH_1})
      set(arg_${CMAKE_MATCH_1} "${CMAKE_MATCH_2}")
    endif()
  endforeach()
  get_property(count DIRECTORY PROPERTY drought_discovered)
  math(EXPR count "${count} + 1")
  set_property(DIRECTORY PROPERTY drought_discovered ${count})
  set(stem ${CMAKE_CURRENT_BINARY_DIR}/drought_scenarios${count})
  file(GENERATE OUTPUT ${stem}_$<CONFIG>.cmake CONTENT
"set(drought [==[$<TARGET_FILE:drought::cli>]==])
set(folder [==[${CMAKE_CURRENT_SOURCE_DIR}]==])
set(list_file [==[${stem}.json]==])
set(paths [==[${arg_UNPARSED_ARGUMENTS}]==])
set(prefix [==[${arg_TEST_PREFIX}]==])
set(suffix [==[${arg_TEST_SUFFIX}]==])
set(filter [==[${arg_TEST_FILTER}]==])
set(test_list [==[${arg_TEST_LIST}]==])
set(working_directory [==[${arg_WORKING_DIRECTORY}]==])
set(extra_args [==[${arg_EXTRA_ARGS}]==])
set(properties [==[${arg_PROPERTIES}]==])
include([==[${CMAKE_CURRENT_FUNCTION_LIST_DIR}/add_scenarios.cmake]==])
")
  file(WRITE ${stem}_tests.cmake "include(\"${stem}_\${CTEST_CONFIGURATION_TYPE}.cmake\" OPTIONAL)\n")
  get_property(is_multi GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
  if(NOT is_multi)
    file(WRITE ${stem}_tests.cmake "include(\"${stem}_${CMAKE_BUILD_TYPE}.cmake\")\n")
  endif()
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${stem}_tests.cmake)
endfunction()
