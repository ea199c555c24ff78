ebb_program(ebb USES cli platform s3 SOURCES ebb.cpp)
