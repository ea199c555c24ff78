# The simulators are tests/sim, tests/sim_disk and tests/sim_what_if, which are declared later: targets are linked by name.
ebb_program(ebb-sim USES fleet_sim disk_sim what_if_sim SOURCES ${CMAKE_CURRENT_LIST_DIR}/ebb_sim.cpp)
