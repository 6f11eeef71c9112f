# Installs the build into a folder of its own, then configures, builds and runs a project that knows
# nothing but that folder: its program, and its backend under Writ's conformance suite.
file(REMOVE_RECURSE ${WORK})
function(must)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "failed (${code}): ${ARGN}\n${out}")
  endif()
endfunction()
must(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
must(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/build -G ${GENERATOR} -DCMAKE_PREFIX_PATH=${WORK}/prefix
  -DCMAKE_CXX_COMPILER=${CXX} -DSANITIZE=${SANITIZE})
must(${CMAKE_COMMAND} --build ${WORK}/build)
must(${WORK}/build/consumer)
must(${WORK}/prefix/bin/writ --version)
must(${WORK}/prefix/bin/writ-verify --version)

# Jobs have a uid of their own and see nothing of a build folder that is closed to others.
file(WRITE ${WORK}/toolchain/version "toolchain 1.0\n")
execute_process(COMMAND ${CMAKE_COMMAND} -E env LIBEXEC=${WORK}/prefix/libexec/writ TOOLCHAIN=${WORK}/toolchain
  ${WORK}/build/toolchain_conformance --gtest_brief=1 RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
if(code EQUAL 77)
  message("SKIPPED the conformance suite: ${out}")
elseif(NOT code EQUAL 0)
  message(FATAL_ERROR "the outside backend does not pass the conformance suite (${code}):\n${out}")
elseif(NOT out MATCHES "([0-9]+) tests from" OR CMAKE_MATCH_1 LESS 40)
  message(FATAL_ERROR "the conformance suite did not run as a whole:\n${out}")
else()
  message("${out}")
endif()
