add_executable(bench_protocol protocol.cc)
target_link_libraries(bench_protocol PRIVATE writ::protocol benchmark::benchmark writ_options)
