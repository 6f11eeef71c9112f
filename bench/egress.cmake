add_executable(bench_egress egress.cc)
target_link_libraries(bench_egress PRIVATE writ::egress_control benchmark::benchmark writ_options)
target_compile_definitions(bench_egress PRIVATE WRIT_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
add_dependencies(bench_egress writ-egress-proxy)
