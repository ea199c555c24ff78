ebb_program(ebb-agent USES base env model disk agent platform qemu s3 SOURCES ebb_agent.cpp pools.cpp)
