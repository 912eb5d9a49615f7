# The fuzzers alone, each with no more of the project than it needs, so that they build in seconds. Included
# by the preset fuzz in place of all else; ci/fuzz runs them.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "libFuzzer is clang's: configure with -DCMAKE_CXX_COMPILER=clang++-14")
endif()

set(fuzz_flags -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
    -D_GLIBCXX_ASSERTIONS)

function(add_fuzzer name)
  list(TRANSFORM ARGN PREPEND ${CMAKE_SOURCE_DIR}/)
  add_executable(${name}_fuzz ${CMAKE_SOURCE_DIR}/tests/fuzz/${name}_fuzz.cpp ${ARGN})
  target_link_libraries(${name}_fuzz PRIVATE drought_options)
  target_compile_options(${name}_fuzz PRIVATE -O1 ${fuzz_flags})
  target_link_options(${name}_fuzz PRIVATE ${fuzz_flags})
endfunction()

set(trace_file harness/trace/trace_file.cpp)
add_fuzzer(snapshot ${trace_file} harness/trace/snapshot.cpp harness/trace/record.cpp harness/trace/pickle.cpp
           harness/trace/pickle_builder.cpp harness/trace/pickle_value.cpp harness/trace/snapshot_writer.cpp)
add_fuzzer(rmm_log ${trace_file} harness/trace/rmm_log.cpp)
add_fuzzer(bfc_dump ${trace_file} harness/trace/bfc_dump.cpp)
add_fuzzer(nsight ${trace_file} harness/trace/nsight.cpp)
target_link_libraries(nsight_fuzz PRIVATE SQLite::SQLite3)
add_fuzzer(scenario harness/scenario/scenario.cpp harness/scenario/table.cpp harness/scenario/toml.cpp
           harness/fault/plan.cpp harness/fault/reach.cpp harness/fault/stack.cpp harness/fault/trigger.cpp
           harness/device/site.cpp harness/device/device.cpp harness/device/device_memory.cpp harness/device/device_graphs.cpp
           harness/device/recording.cpp
           harness/device/profile.cpp harness/device/status.cpp harness/memory/tag.cpp)
target_link_libraries(scenario_fuzz PRIVATE Boost::stacktrace_backtrace drought::libbacktrace)
add_fuzzer(caching_conf allocators/caching_conf.cpp)
add_fuzzer(config scenarios/models/config.cpp scenarios/models/model.cpp scenarios/models/vision_matrices.cpp
           kernels/rope_shape.cpp kernels/shape.cpp)
add_fuzzer(diagnose harness/diagnose/diagnosis.cpp harness/diagnose/figures.cpp harness/diagnose/log_reader.cpp
           harness/diagnose/phrase.cpp harness/diagnose/reproduction.cpp harness/diagnose/rules.cpp
           harness/diagnose/scenario_draft.cpp harness/diagnose/wordings.cpp harness/device/profile.cpp
           harness/memory/resource.cpp harness/memory/tag.cpp harness/scenario/table.cpp harness/scenario/toml.cpp)
