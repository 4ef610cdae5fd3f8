"""Which kind of classifier? Contenders under one protocol, chosen by paired evidence."""
