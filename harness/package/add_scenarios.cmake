# Read by ctest for each drought_discover_scenarios(), which set the variables: adds the tests.
execute_process(COMMAND ${drought} list scenarios --in ${paths} --json ${list_file}
                WORKING_DIRECTORY ${folder} OUTPUT_QUIET ERROR_VARIABLE mistake RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  # A test that tells the mistake, rather than none.
  set(name "${prefix}drought list scenarios")
  add_test(${name} ${drought} list scenarios --in ${paths})
  set_tests_properties(${name} PROPERTIES WORKING_DIRECTORY ${folder} LABELS "scenario;${labels}")
  return()
endif()

set(options --seed ${seed})
if(seed STREQUAL "")
  set(options)
endif()
file(READ ${list_file} listed)
string(JSON count LENGTH ${listed} results)
math(EXPR last "${count} - 1")
foreach(i RANGE ${last})
  string(JSON file GET ${listed} results ${i} name)
  string(JSON lanes GET ${listed} results ${i} lanes)
  if(lanes MATCHES "\"host\"")
    add_test("${prefix}${file}" ${drought} run ${file} ${options})
    set_tests_properties("${prefix}${file}" PROPERTIES WORKING_DIRECTORY ${folder} SKIP_RETURN_CODE 77
                         LABELS "scenario;${labels}")
  endif()
  if(lanes MATCHES "\"cuda\"")
    set(name "cuda:${prefix}${file}")
    add_test("${name}" ${drought} run ${file} --device cuda ${options})
    set_tests_properties("${name}" PROPERTIES WORKING_DIRECTORY ${folder} SKIP_RETURN_CODE 77
                         LABELS "scenario;gpu;${labels}" RESOURCE_GROUPS gpus:1)
  endif()
endforeach()
