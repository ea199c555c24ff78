ebb_program(ebb-disk USES base env model disk platform s3 SOURCES ebb_disk.cpp)
