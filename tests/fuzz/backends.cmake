writ_fuzz(launch_wire LIBS writ::backends_launch)
