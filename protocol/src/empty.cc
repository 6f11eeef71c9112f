namespace writ {}
