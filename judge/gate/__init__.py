"""Whether B may take A's place: decided at any number of looks, for one pair or in a loop over many candidates."""
