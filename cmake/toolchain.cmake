# Flags of every target: warnings are errors, lld links, ccache keeps objects, sanitizers by EBB_SANITIZE.
set(EBB_SANITIZE "" CACHE STRING "sanitizers, comma separated: address,undefined or thread")
set(CMAKE_CXX_FLAGS_DEV "-O1 -g1" CACHE STRING "flags of the Dev build" FORCE)
find_program(CCACHE ccache)
if(CCACHE)
  # The first line is what precompiled headers need to be cacheable (and EXTSUM: see ebb_pch), the second what lets every checkout
  # of this tree use the same objects: paths count from the checkout's root.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime CCACHE_PCH_EXTSUM=1
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_MAXSIZE=8G ${CCACHE})
endif()
add_compile_options(-Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor
                    -Wimplicit-fallthrough -Wswitch-enum -fno-omit-frame-pointer)
# Debian's headers are written for many compilers; their warnings are not ours.
add_compile_options(-Wno-unknown-warning-option -fpch-instantiate-templates)
add_link_options(-fuse-ld=lld)
if(EBB_SANITIZE)
  add_compile_options(-fsanitize=${EBB_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${EBB_SANITIZE})
endif()

find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CURL REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(GTest REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json url)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(URING REQUIRED IMPORTED_TARGET liburing)
