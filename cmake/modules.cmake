# ebb_module(NAME base LEVEL 0 USES ... LIBS ... SOURCES ... TESTS ...)
#   builds library ebb_NAME, test program NAME_test (from TESTS), and a link test: the library alone, whole archive,
#   against only what it declared - a forbidden dependency does not link.
#   A module may use only modules of lower levels; `env` and `model` (both level 1) do not know each other.

include(cmake/pch.cmake)
ebb_pch(ebb_pch)
# What is under test is optimized, the tests themselves are not: with sanitizers they compile in half the time.
set(ebb_test_options -O0)
ebb_pch(ebb_test_pch ${ebb_test_options})

# Tests of modules, without a label of their own. They are no part of `all`: ./dev test builds and runs them under the sanitizers only.
add_custom_target(unit_tests)
function(ebb_unit_test name)
  set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  set_tests_properties(${name} PROPERTIES LABELS "unit")
  add_dependencies(unit_tests ${name})
endfunction()

function(ebb_module)
  cmake_parse_arguments(M "" "NAME;LEVEL" "USES;LIBS;SOURCES;TESTS;TEST_USES" ${ARGN})
  set(lib ebb_${M_NAME})
  set_property(GLOBAL PROPERTY ebb_level_${M_NAME} ${M_LEVEL})
  foreach(used ${M_USES})
    get_property(used_level GLOBAL PROPERTY ebb_level_${used})
    if("${used_level}" STREQUAL "" OR NOT used_level LESS M_LEVEL)
      message(FATAL_ERROR "module ${M_NAME} (level ${M_LEVEL}) may not use ${used} (level '${used_level}')")
    endif()
  endforeach()
  list(TRANSFORM M_USES PREPEND ebb_ OUTPUT_VARIABLE used_libs)

  add_library(${lib} STATIC ${M_SOURCES})
  target_include_directories(${lib} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${lib} PUBLIC ${used_libs} ${M_LIBS} fmt::fmt Boost::json)
  target_precompile_headers(${lib} REUSE_FROM ebb_pch)

  add_executable(linktest_${M_NAME} ${CMAKE_SOURCE_DIR}/cmake/linktest.cpp)
  target_link_libraries(linktest_${M_NAME} PRIVATE -Wl,--whole-archive ${lib} -Wl,--no-whole-archive)
  add_test(NAME linktest_${M_NAME} COMMAND linktest_${M_NAME})
  set_tests_properties(linktest_${M_NAME} PROPERTIES LABELS "link")

  if(M_TESTS)
    ebb_test(${M_NAME}_test USES ${M_NAME} ${M_TEST_USES} SOURCES ${M_TESTS})
  endif()
endfunction()

# ebb_test(NAME USES modules... LIBS ... SOURCES ...): one GoogleTest program, run as one CTest test.
function(ebb_test name)
  cmake_parse_arguments(T "" "" "USES;LIBS;SOURCES;LABELS" ${ARGN})
  list(TRANSFORM T_USES PREPEND ebb_ OUTPUT_VARIABLE used_libs)
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE ${used_libs} ${T_LIBS} GTest::gtest GTest::gtest_main)
  target_compile_options(${name} PRIVATE ${ebb_test_options})
  target_precompile_headers(${name} REUSE_FROM ebb_test_pch)
  add_test(NAME ${name} COMMAND ${name})
  if(T_LABELS)
    set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}")
  else()
    ebb_unit_test(${name})
  endif()
endfunction()

# ebb_program(NAME USES modules... LIBS ... SOURCES ...): an executable under bin/.
function(ebb_program name)
  cmake_parse_arguments(P "" "" "USES;LIBS;SOURCES" ${ARGN})
  list(TRANSFORM P_USES PREPEND ebb_ OUTPUT_VARIABLE used_libs)
  add_executable(${name} ${P_SOURCES})
  target_link_libraries(${name} PRIVATE ${used_libs} ${P_LIBS})
  target_precompile_headers(${name} REUSE_FROM ebb_pch)
endfunction()

# ebb_fuzzer(NAME USES modules... LIBS ... SOURCES ...): a libFuzzer program, where the modules are built for one (preset asan): they
# tell it which way its inputs take. Built on demand; `./dev fuzz` runs it.
function(ebb_fuzzer name)
  if(NOT EBB_SANITIZE MATCHES "fuzzer-no-link")
    return()
  endif()
  cmake_parse_arguments(F "" "" "USES;LIBS;SOURCES" ${ARGN})
  list(TRANSFORM F_USES PREPEND ebb_)
  add_executable(${name} EXCLUDE_FROM_ALL ${F_SOURCES})
  target_link_libraries(${name} PRIVATE ${F_USES} ${F_LIBS})
  target_precompile_headers(${name} REUSE_FROM ebb_pch)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endfunction()
