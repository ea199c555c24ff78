if(NOT EXISTS ${CMAKE_SOURCE_DIR}/docs/api/openapi.json)
  return()
endif()
file(READ ${CMAKE_SOURCE_DIR}/docs/api/openapi.json EBB_OPENAPI)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/api/openapi.json)
file(CONFIGURE OUTPUT openapi.cpp CONTENT [==[
extern const char* const ebb_openapi;
const char* const ebb_openapi = R"openapi(@EBB_OPENAPI@)openapi";
]==] @ONLY)
ebb_program(ebbd USES base env model store disk control platform
  SOURCES ebbd.cpp ${CMAKE_CURRENT_BINARY_DIR}/openapi.cpp)
