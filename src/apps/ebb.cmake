ebb_program(ebb USES cli platform SOURCES ebb.cpp)
