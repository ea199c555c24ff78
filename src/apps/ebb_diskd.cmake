ebb_program(ebb-diskd USES base env model disk nbd platform s3 SOURCES ebb_diskd.cpp pools.cpp)
