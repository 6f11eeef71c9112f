add_executable(bench_run_overhead run_overhead.cc without_journal.cc)
target_link_options(bench_run_overhead PRIVATE
  -Wl,--wrap=_ZN4writ6runner11OpenJournalERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERKNS_5ClockE)
set_target_properties(bench_run_overhead PROPERTIES ENABLE_EXPORTS ON)  # its fsync is SQLite's
target_link_libraries(bench_run_overhead PRIVATE writ_test_places writ_cli writ_options)
add_dependencies(bench_run_overhead writ writ-launch writ-egress-proxy)
add_executable(bench_session_curve session_curve.cc)
target_link_libraries(bench_session_curve PRIVATE writ_cli writ_options)
add_dependencies(bench_session_curve writ-launch writ-egress-proxy)
