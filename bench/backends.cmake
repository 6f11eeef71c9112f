add_executable(bench_backends backends_bench.cc)
target_link_libraries(bench_backends PRIVATE writ_test_places writ::backends_process benchmark::benchmark writ_options)
add_dependencies(bench_backends writ-launch bench_connects)
add_executable(bench_connects backends_connects.cc)
target_link_libraries(bench_connects PRIVATE writ_options)
add_executable(bench_empty_job empty_job.cc)
target_link_libraries(bench_empty_job PRIVATE writ_test_places writ::backends_process writ::backends_sandbox writ::backends_container
  writ::backends_microvm writ::backends_microvm_images writ_options)
add_dependencies(bench_empty_job writ-launch writ-vm writ-guest-agent)
add_executable(bench_machine_start machine_start.cc ../tests/conformance/machine_snapshots.cc ../tests/conformance/running_job.cc
  ../tests/conformance/test_guest_image.cc)
target_link_libraries(bench_machine_start PRIVATE writ_job_fixture writ::backends_microvm writ::backends_microvm_images GTest::gtest writ_options)
add_dependencies(bench_machine_start writ-launch writ-vm writ-guest-agent writ-pages writ-uffd)
add_executable(bench_machine_base machine_base.cc ../tests/conformance/machine_snapshots.cc ../tests/conformance/running_job.cc
  ../tests/conformance/test_guest_image.cc)
target_link_libraries(bench_machine_base PRIVATE writ_job_fixture writ::backends_microvm writ::backends_microvm_images GTest::gtest writ_options)
add_dependencies(bench_machine_base writ-launch writ-vm writ-guest-agent)
