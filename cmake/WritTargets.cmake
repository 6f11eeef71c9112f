# The targets of this project are made by the functions here, so that warnings, sanitizers and
# include folders are said in one place.

add_custom_target(writ_sanitized_tests)
add_custom_target(writ_fault_tests)

add_library(writ_options INTERFACE)
target_compile_options(writ_options INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -Wformat=2 -Wvla -Wimplicit-fallthrough -fstack-protector-strong)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports both falsely when it optimises: -Wrestrict in libstdc++'s string, and
  # -Wmaybe-uninitialized in std::optional of a type with a destructor. clang looks for the latter too.
  target_compile_options(writ_options INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
endif()
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug" AND NOT WRIT_SANITIZE)
  target_compile_definitions(writ_options INTERFACE _FORTIFY_SOURCE=2)
endif()
target_link_options(writ_options INTERFACE -Wl,-z,relro,-z,now)
# Debug builds link some sixty programs; lld takes an eighth of the time that the default linker does.
find_program(WRIT_LLD ld.lld)
if(WRIT_LLD AND CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_link_options(writ_options INTERFACE -fuse-ld=lld)
endif()
if(WRIT_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # asio uses atomic_thread_fence, which g++'s thread sanitizer warns that it does not follow.
  target_compile_options(writ_options INTERFACE -Wno-tsan)
endif()
if(WRIT_SANITIZE)
  target_compile_options(writ_options INTERFACE -fsanitize=${WRIT_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(writ_options INTERFACE -fsanitize=${WRIT_SANITIZE})
endif()

# writ_library(<folder-name> SOURCES ... PUBLIC deps... PRIVATE deps...)
# A static library target `writ_<name>` (alias `writ::<name>`) whose public headers are in include/.
function(writ_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(writ_${name} STATIC ${ARG_SOURCES})
  add_library(writ::${name} ALIAS writ_${name})
  set_target_properties(writ_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(writ_${name} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/src)
  target_compile_features(writ_${name} PUBLIC cxx_std_20)
  target_link_libraries(writ_${name} PUBLIC ${ARG_PUBLIC}
    PRIVATE ${ARG_PRIVATE} $<BUILD_INTERFACE:writ_options>)
  install(TARGETS writ_${name} EXPORT writ-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/include)
    install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  endif()
endfunction()

# writ_executable(<name> [LIBEXEC] [NOINSTALL] SOURCES ... LIBS ...)
# LIBEXEC programs are started by writ, not by people; they are installed to libexec/writ.
function(writ_executable name)
  cmake_parse_arguments(ARG "LIBEXEC;NOINSTALL" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} writ_options)
  if(ARG_NOINSTALL)
    return()
  endif()
  if(ARG_LIBEXEC)
    install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/writ)
  else()
    install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endfunction()

# writ_test(<name> SOURCES ... LIBS ... [LABELS ...] [TIMEOUT s] [ENVIRONMENT ...] [FILTER googletest filter])
# A gtest program, registered with CTest as one test per TEST() (discovered when ctest runs). The label
# `sanitize` puts it among those that run again under the sanitizers (target writ_sanitized_tests), `fault`
# among those of the build that can be told to die (writ_fault_tests).
function(writ_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT;FILTER" "SOURCES;LIBS;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} writ_test_places GTest::gmock GTest::gtest_main writ_options)
  if("sanitize" IN_LIST ARG_LABELS)
    add_dependencies(writ_sanitized_tests ${name})
  endif()
  if("fault" IN_LIST ARG_LABELS)
    add_dependencies(writ_fault_tests ${name})
  endif()
  set(properties TIMEOUT ${ARG_TIMEOUT})
  if(ARG_LABELS)
    list(APPEND properties LABELS "${ARG_LABELS}")
  endif()
  if(ARG_ENVIRONMENT)
    list(APPEND properties ENVIRONMENT "${ARG_ENVIRONMENT}")
  endif()
  set(filter "")
  if(ARG_FILTER)
    set(filter TEST_FILTER ${ARG_FILTER})
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST ${filter} PROPERTIES ${properties})
endfunction()

# writ_whole_suite(NAME [AS_ORDINARY_USER] COMMAND PROGRAM [ARGUMENTS...] TIMEOUT N [LABELS ...] [RESOURCE_LOCK ...]): a gtest program, or the part of it
# that a filter names, as one test of CTest. What it skips inside is held against tests/known-skips.
#   AS_ORDINARY_USER   by tests/support/as_ordinary_user; such suites have one uid, whose processes are counted: never two at once
function(writ_whole_suite name)
  cmake_parse_arguments(ARG "AS_ORDINARY_USER" "TIMEOUT" "COMMAND;LABELS;RESOURCE_LOCK" ${ARGN})
  if(ARG_AS_ORDINARY_USER)
    list(PREPEND ARG_COMMAND ${PROJECT_SOURCE_DIR}/tests/support/as_ordinary_user)
    list(APPEND ARG_RESOURCE_LOCK ordinary_user)
  endif()
  add_test(NAME ${name} COMMAND ${PROJECT_SOURCE_DIR}/tests/support/known_skips ${name} ${ARG_COMMAND})
  # The longest starts first, also where CTest has not seen any yet: suites that wait for each other must not be what is left at the end.
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} COST ${ARG_TIMEOUT} SKIP_RETURN_CODE 77)
  if(ARG_LABELS)
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}")
  endif()
  if(ARG_RESOURCE_LOCK)
    set_tests_properties(${name} PROPERTIES RESOURCE_LOCK "${ARG_RESOURCE_LOCK}")
  endif()
endfunction()
