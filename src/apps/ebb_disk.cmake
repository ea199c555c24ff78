ebb_program(ebb-disk USES base env model disk platform SOURCES ebb_disk.cpp)
