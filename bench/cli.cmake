add_executable(bench_run_overhead run_overhead.cc)
target_link_libraries(bench_run_overhead PRIVATE writ_cli writ_options)
target_compile_definitions(bench_run_overhead PRIVATE WRIT_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
add_dependencies(bench_run_overhead writ writ-launch writ-egress-proxy)
