writ_fuzz(launch_wire LIBS writ::backends_launch)
writ_fuzz(oci_documents LIBS writ::backends_image)
writ_fuzz(tree_stream LIBS writ::base)
writ_fuzz(microvm_channel LIBS writ::backends_microvm_channel)
