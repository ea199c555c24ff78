# The fleet itself is tests/sim, which is declared later: targets are linked by name.
ebb_program(ebb-sim USES fleet_sim SOURCES ${CMAKE_CURRENT_LIST_DIR}/ebb_sim.cpp)
