module door.acme.example

go 1.24
