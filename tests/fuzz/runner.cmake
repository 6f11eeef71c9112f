writ_fuzz(redactor LIBS writ_runner)
writ_fuzz(runner_texts LIBS writ_runner)
