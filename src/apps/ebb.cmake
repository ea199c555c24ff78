ebb_program(ebb USES cli platform s3 images SOURCES ebb.cpp terminal.cpp)
