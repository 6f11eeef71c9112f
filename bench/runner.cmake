add_executable(bench_runner runner.cc)
target_link_libraries(bench_runner PRIVATE writ_runner benchmark::benchmark writ_options)
