ebb_program(ebb-agent USES base env model disk agent platform qemu SOURCES ebb_agent.cpp)
