writ_fuzz(redactor LIBS writ_runner)
