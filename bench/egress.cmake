add_executable(bench_egress egress.cc)
target_link_libraries(bench_egress PRIVATE writ_test_places writ::egress_control benchmark::benchmark writ_options)
add_dependencies(bench_egress writ-egress-proxy)
