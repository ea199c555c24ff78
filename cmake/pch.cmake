# Headers that nearly every file includes, compiled once. CMake would name the header that it makes of them beside what was compiled
# of it, by a path that no cache of objects could share.
set(CMAKE_CXX_COMPILE_OPTIONS_USE_PCH -Xclang -include-pch -Xclang <PCH_FILE>)
set(ebb_pch_headers
  <fmt/format.h> <boost/describe.hpp> <boost/json.hpp>
  <algorithm> <array> <chrono> <compare> <coroutine> <cstdint> <cstring> <deque> <expected> <functional> <map> <memory> <optional>
  <set> <span> <string> <string_view> <unordered_map> <utility> <variant> <vector>)

# What ccache takes for the compiled headers' content (CCACHE_PCH_EXTSUM), for they themselves differ from checkout to checkout: what
# they were made from. These are Debian's headers only, so a change of any package configures again.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS /var/lib/dpkg/status)
list(TRANSFORM ebb_pch_headers PREPEND "#include " OUTPUT_VARIABLE pch_source)
list(JOIN pch_source "\n" pch_source)
file(WRITE ${CMAKE_BINARY_DIR}/pch_sum.cpp "${pch_source}\n")
execute_process(COMMAND ${CMAKE_CXX_COMPILER} -std=c++2b -E -P ${CMAKE_BINARY_DIR}/pch_sum.cpp
  OUTPUT_VARIABLE pch_text COMMAND_ERROR_IS_FATAL ANY)
string(SHA256 pch_sum "${pch_text}")

# ebb_pch(NAME OPTIONS...): an object library that carries them, for REUSE_FROM by what is compiled with the same options.
function(ebb_pch name)
  add_library(${name} OBJECT ${CMAKE_SOURCE_DIR}/cmake/pch.cpp)
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${name} PUBLIC fmt::fmt Boost::json)
  target_compile_options(${name} PRIVATE ${ARGN})
  target_precompile_headers(${name} PRIVATE ${ebb_pch_headers})
  file(WRITE ${CMAKE_BINARY_DIR}/CMakeFiles/${name}.dir/cmake_pch.hxx.pch.sum ${pch_sum})
endfunction()
