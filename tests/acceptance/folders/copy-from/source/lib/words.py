WORD = "friend"
