add_executable(bench_plane ${CMAKE_CURRENT_LIST_DIR}/plane.cc
               ${CMAKE_CURRENT_LIST_DIR}/../tests/unit/plane/test_plane.cc
               ${CMAKE_CURRENT_LIST_DIR}/../tests/unit/plane/http_client.cc)
target_include_directories(bench_plane PRIVATE ${CMAKE_CURRENT_LIST_DIR}/../tests
                           ${CMAKE_CURRENT_LIST_DIR}/../tests/unit/plane)
target_link_libraries(bench_plane PRIVATE writ::plane GTest::gtest CURL::libcurl writ_options)

add_executable(bench_plane_fleet ${CMAKE_CURRENT_LIST_DIR}/plane_fleet.cc
               ${CMAKE_CURRENT_LIST_DIR}/../tests/unit/plane/test_plane.cc
               ${CMAKE_CURRENT_LIST_DIR}/../tests/unit/plane/http_client.cc)
target_include_directories(bench_plane_fleet PRIVATE ${CMAKE_CURRENT_LIST_DIR}/../tests
                           ${CMAKE_CURRENT_LIST_DIR}/../tests/unit/plane)
target_link_libraries(bench_plane_fleet PRIVATE writ::plane GTest::gtest CURL::libcurl writ_options)
