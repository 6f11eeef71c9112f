# Figures of workspace/: run it by hand (it needs git and some seconds); --help says how.
writ_executable(workspace_bench NOINSTALL SOURCES ${CMAKE_CURRENT_LIST_DIR}/workspace_bench.cc
                LIBS writ::workspace)
