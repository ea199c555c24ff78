# Headers that nearly every file includes, compiled once. CMake would name the header that it makes of them beside what was compiled
# of it, by a path that no cache of objects could share.
set(CMAKE_CXX_COMPILE_OPTIONS_USE_PCH -Xclang -include-pch -Xclang <PCH_FILE>)
target_precompile_headers(ebb_pch PRIVATE
  <fmt/format.h> <boost/describe.hpp> <boost/json.hpp>
  <algorithm> <array> <chrono> <compare> <coroutine> <cstdint> <cstring> <deque> <expected> <functional> <map> <memory> <optional>
  <set> <span> <string> <string_view> <unordered_map> <utility> <variant> <vector>)

# What ccache takes for the compiled headers' content (CCACHE_PCH_EXTSUM), for they themselves differ from checkout to checkout: what
# they were made from. These are Debian's headers only, so a change of any package configures again.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS /var/lib/dpkg/status)
set(pch_folder ${CMAKE_BINARY_DIR}/CMakeFiles/ebb_pch.dir)
get_target_property(pch_headers ebb_pch PRECOMPILE_HEADERS)
list(TRANSFORM pch_headers PREPEND "#include ")
list(JOIN pch_headers "\n" pch_source)
file(WRITE ${pch_folder}/pch_sum.cpp "${pch_source}\n")
execute_process(COMMAND ${CMAKE_CXX_COMPILER} -std=c++2b -E -P ${pch_folder}/pch_sum.cpp OUTPUT_VARIABLE pch_text COMMAND_ERROR_IS_FATAL ANY)
string(SHA256 pch_sum "${pch_text}")
file(WRITE ${pch_folder}/cmake_pch.hxx.pch.sum ${pch_sum})
