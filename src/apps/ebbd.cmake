# The OpenAPI document is linked in as it is (an assembler's .incbin: a string literal may not be that long).
set(openapi_json ${CMAKE_SOURCE_DIR}/docs/api/openapi.json)
file(CONFIGURE OUTPUT openapi.cpp CONTENT [==[
__asm__(".section .rodata\n.global ebb_openapi\nebb_openapi:\n.incbin \"@openapi_json@\"\n.byte 0\n.previous\n");
]==] @ONLY)
ebb_program(ebbd USES base env model store disk control platform s3
  SOURCES ebbd.cpp pools.cpp ${CMAKE_CURRENT_BINARY_DIR}/openapi.cpp)
set_property(SOURCE ${CMAKE_CURRENT_BINARY_DIR}/openapi.cpp PROPERTY OBJECT_DEPENDS ${openapi_json})
