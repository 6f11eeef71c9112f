add_executable(bench_runner runner.cc)
target_link_libraries(bench_runner PRIVATE writ_runner benchmark::benchmark writ_options)
add_executable(bench_journal journal.cc)
target_link_libraries(bench_journal PRIVATE writ_runner writ_options)
set_target_properties(bench_journal PROPERTIES ENABLE_EXPORTS ON)  # its fsync is SQLite's
