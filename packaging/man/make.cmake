# Runs PROGRAM with ARGUMENTS (a list) and keeps its standard output as OUT; with any failure there is none.
execute_process(COMMAND ${PROGRAM} --dir /nonexistent ${ARGUMENTS} OUTPUT_VARIABLE text RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "${PROGRAM} ${ARGUMENTS}: ${failed}")
endif()
file(WRITE ${OUT} "${text}")
