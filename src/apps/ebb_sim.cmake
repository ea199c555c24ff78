# The simulators are tests/sim and tests/sim_disk, which are declared later: targets are linked by name.
ebb_program(ebb-sim USES fleet_sim disk_sim SOURCES ${CMAKE_CURRENT_LIST_DIR}/ebb_sim.cpp)
