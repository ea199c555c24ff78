ebb_program(ebb-diskd USES base env model disk nbd platform SOURCES ebb_diskd.cpp)
